"""Texts that go on, several at once: `decoder.py` is what generating asks of a model.

It holds what was read (`key_value_cache.py`; of RWKV `rwkv/recurrent_state.py`), outside of its slots as a snapshot (`slot_snapshot.py`),
and may guess ahead (`draft.py`) and leave most of a large head unread (`screened_head.py`).
"""
