"""Token ids to and from other people's files: a store out, a store in, and no text in between.

    write_megatron(PREFIX, split, vocab_size)                   # megatron.py: PREFIX.bin, PREFIX.idx
    write_flat(PATH, split, FLAT["nanogpt"], ...)               # flat.py: nanoGPT's and llm.c's .bin
    write_documents(PATH, ...), write_packed(PATH, ...)         # parquet.py
    for documents in open_token_file(path, "megatron", ...).read(): ...   # formats.py: whichever it is
    for report in import_tokens(files, vocabulary, folder, ...): ...      # importing.py: files -> store

Files are memory maps or are read in pieces, so memory stays flat; no Python object is made for a document or a token.
"""
