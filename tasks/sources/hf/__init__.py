"""The built-in tasks `hf:DIRECTORY`: a model of transformers in a local directory, data in common formats.

Flow: `models.hf` reads config.json, whose `architectures` entry decides the kind: texts or images with a
class, tokens with tags, or a language model. Nothing is downloaded and no code of the directory runs:
weights are safetensors, and a directory that names code is refused.

Reading order:
    models.py          the task
    directory.py       what is in the directory; model, tokenizer and image processor
    tables.py          rows of CSV, JSONL and Parquet files, and their splits
    texts.py           tensors from them
    token_measures.py  losses and metrics

It knows nothing of graphs. transformers is imported when such a task is named.
"""
