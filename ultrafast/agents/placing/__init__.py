"""Where agents come from, and where to.

`spawner` begins and ends agents; `pools` keeps warm ones ready, as many as `demand` foresees;
`loads` says which worker is to get the next. `relocation` has one move to another worker, and
`rebalancing` says when some should.
"""
