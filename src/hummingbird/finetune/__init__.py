"""``hummingbird finetune``: the style of a user's clips as adapters for a student.

The clips go through the same curation as any training set; the adapters are trained by consistency on the clips
themselves (:mod:`hummingbird.training.methods.consistency_tuning`), and `hummingbird generate --lora` puts them on.
"""
