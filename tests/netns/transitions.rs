//! At no instant of a change between two states that both serve an address does a new connection to it fail.
//!
//! In: states as objects, one after the other in a folder of manifests, so that each change is one batch. Clients
//! outside the cluster and on the node itself connect again and again to every frontend while it happens. Out: the
//! number of pairs of a client and a frontend that were served before and after, and no failure of any of them.
//! Never: a guess at who is to be served; that is measured before and after, and a pair refused in either of the
//! two states is left out. How many are left is asserted, so that nothing passes empty.

mod kept;
mod objects;
mod recorded;
mod synthetic;
mod traffic;
mod world;
