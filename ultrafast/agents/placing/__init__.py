"""Where agents come from, and where to.

`spawner` begins agents, and `ending` has them stop; `pools` keeps warm ones ready, as many as
`demand` foresees; `loads` says which worker is to get the next. `relocation` has one move to
another worker, and `rebalancing` says when some should.
"""
