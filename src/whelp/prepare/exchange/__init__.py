"""Token ids to and from other people's files: a store out, a store in, and no text in between.

    write_megatron(PREFIX, split, vocab_size)                   # megatron.py: PREFIX.bin, PREFIX.idx
    write_nanogpt(PATH, split, ...), write_llmc(PATH, ...)      # flat.py
    write_documents(PATH, ...), write_packed(PATH, ...)         # parquet.py
    for documents in open_token_file(path, "megatron", ...).read(): ...   # formats.py: any of them
    for report in import_tokens(files, vocabulary, folder, ...): ...      # importing.py: files to a store

Files are memory maps or are read in pieces, so memory stays flat; no Python object is made for a document or a token.
"""
