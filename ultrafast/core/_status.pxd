cdef int check(int status, object subject=*) except? -1
