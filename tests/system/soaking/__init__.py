"""The parts of the soak, `tests/system/soak.py`.

`ids` what a message is called and how it is written down; `load` who sends; `actors` the agents;
`sender` a sending process; `watch` what is sampled; `trend` whether it grows; `book` what became of
every message; `run` puts them together.
"""
