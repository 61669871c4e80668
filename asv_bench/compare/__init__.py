"""What ultrafast does beside what others do for the same job, in one run, in turns.

`python -m compare SUBJECT` (see `tools/compare`). A subject is a package here that offers
`run(options) -> Report`, and is named in `__main__`: `agents`, `messaging`.

- `figures`: percentiles, rates, medians over rounds, ratios. Refuses empty samples.
- `teams`: processes that play one contestant, told what to do, given up in time.
- `rounds`: who is measured when, and which rounds count.
- `report`: the table, and the same as JSON.
"""
