from ultrafast.core cimport _c
from ultrafast.core._region cimport Region

cdef class Metrics:
    cdef readonly Region region        # strong: the mapping outlives every door onto it
    cdef _c.uf_metrics *_metrics       # borrowed from `region`
