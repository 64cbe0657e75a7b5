//! The pure core of an IPVS service proxy: facts, plan, diff, apply. No sockets, no clock, no runtime.
