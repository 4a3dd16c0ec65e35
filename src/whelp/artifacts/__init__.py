"""The nouns that travel between commands, and their folders on disk.

manifest (is it finished, is it the right kind, is it stale?) · token_store, token_column (documents as token ids) ·
row_batch (rows on their way to the model) · targets (what is not trained) · checkpoint (a Hugging Face model folder plus
the trainer's state) · run_folder (one training run) · source_stream, parts_folder (partitions of sources, and the parts that become of
them) · output_place (nothing of somebody else's is replaced) · gguf_file, gguf_metadata (for llama.cpp).

Every folder is readable by itself: `manifest.json` is written last, so its existence means "finished".
"""
