SPIN_US: int
SPIN_US_MAX: int
