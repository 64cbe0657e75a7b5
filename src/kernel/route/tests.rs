//! Tests with messages of a kernel (6.18), received from `NETLINK_ROUTE` after the command above each.

use super::{Address, Link};

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(digit).collect()
}

fn address(hex: &str) -> String {
    let Address { index, local, prefix, peer } = Address::read(&bytes(hex)).unwrap().unwrap();
    format!("{index} {local}/{prefix} {peer}")
}

#[test]
fn a_link_has_an_index_and_a_name() {
    // ip link set v0 nomaster; the attributes after the name are cut off.
    let link = "0000010004000000021000000000000007000300763000000800\
                0d00e8030000";
    let read = Link::read(&bytes(link)).unwrap();
    assert_eq!(read, Some(Link { index: 4, name: "v0".to_owned() }));
}

#[test]
fn a_port_that_leaves_a_bridge_is_no_link_that_is_gone() {
    // ip link set v0 nomaster: RTM_DELLINK of the family AF_BRIDGE.
    let port = "07000100040000000210000000000000070003007630000008000a000200000008000400dc050000\
                05001000020000000a0001006ae8b9898d0500000800050003000000";
    assert_eq!(Link::read(&bytes(port)).unwrap(), None);
}

#[test]
fn the_local_address_counts_on_a_link_between_two() {
    // ip addr add 10.0.0.1 peer 10.0.0.2/32 dev v0
    let v4 = "0220800004000000080001000a000002080002000a000001070003007630000008000800800000001400\
              0600ffffffffffffffff71ce050071ce0500";
    assert_eq!(address(v4), "4 10.0.0.1/32 10.0.0.2");
    // ip addr add fd00::1 peer fd00::2/64 dev v0
    let v6 = "0a40c0000400000014000200fd00000000000000000000000000000114000100fd000000000000000000\
              00000000000214000600ffffffffffffffff74ce050074ce050008000800c0000000";
    assert_eq!(address(v6), "4 fd00::1/64 fd00::1");
}

#[test]
fn ipv6_without_another_end_gives_its_address_alone() {
    // ip addr add fd00::3/64 dev v0
    let v6 = "0a40c0000400000014000100fd00000000000000000000000000000314000600ffffffffffffffff75ce\
              050075ce050008000800c0000000";
    assert_eq!(address(v6), "4 fd00::3/64 fd00::3");
}

#[test]
fn what_is_cut_off_is_an_error_and_another_family_is_nothing() {
    for short in ["", "02208000", "0220800004000000080001000a00", "0220800004000000060001000a00"] {
        assert!(Address::read(&bytes(short)).is_err(), "{short}");
    }
    assert!(Link::read(&bytes("00000100040000000210")).is_err());
    // AF_MCTP
    assert_eq!(Address::read(&bytes("2d000000040000000500020009000000")).unwrap(), None);
}
