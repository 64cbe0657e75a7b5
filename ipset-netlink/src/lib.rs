//! Linux ipset over nfnetlink: create, packed add and delete, list, swap, destroy, flush.
