//! Tests that new connections do not fail during a change between two states that both serve an
//! address.
//!
//! Takes states as objects, one after the other in a folder of manifests, so that each change is
//! one batch. Clients outside the cluster and on the node connect repeatedly to every frontend
//! meanwhile. Returns the number of pairs of a client and a frontend that were served before and
//! after; none of them may fail. Measures which pairs are served instead of assuming it. A pair
//! refused in either state is left out. Tests require a number of pairs, so that none passes empty.

mod kept;
mod objects;
mod recorded;
mod synthetic;
mod traffic;
mod world;
