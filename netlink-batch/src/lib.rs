//! Synchronous netlink: many requests in one send, one acknowledgement, every error mapped to its request, dumps that restart when interrupted.
