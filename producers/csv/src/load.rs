//! One file of bars: what it can be asked for, and what comes back.
