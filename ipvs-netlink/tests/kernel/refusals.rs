//! Tests that the kernel's refusals have the documented type, alone and in a batch.

use std::env;

use super::*;

#[test]
fn every_refusal_has_its_type() {
    in_namespace(|mut client| {
        let (here, nowhere) = (tcp("10.96.0.1", 80), tcp("10.96.0.2", 80));
        let place = Destination::new(ip("192.0.2.10"), 8080);
        let other = Destination::new(ip("192.0.2.11"), 8080);
        client.new_service(Service::new(here, "rr")).unwrap();
        client.new_destination(here, place.clone()).unwrap();

        let mut unknown_engine = Service::new(nowhere, "rr");
        unknown_engine.persistence_engine = Some("nosuch".to_owned());
        let mut heavy = other.clone();
        heavy.weight = i32::MAX as u32 + 1;
        let mut upside_down = other.clone();
        (upside_down.upper_threshold, upside_down.lower_threshold) = (1, 2);
        let gue = ForwardMethod::Tunnel(Tunnel::Gue { port: 0, flags: 0 });
        let no_port = destination("192.0.2.11", 0, gue, 1);
        let mixed = Destination::new(ip("2001:db8::10"), 8080);

        for (command, expected) in [
            (Command::NewService(Service::new(here, "rr")), Refusal::AlreadyExists),
            (Command::NewService(Service::new(nowhere, "nosuch")), Refusal::UnknownScheduler),
            (Command::NewService(unknown_engine), Refusal::UnknownSchedulerOrEngine),
            (
                Command::NewService(Service::new(nowhere, "sixteen-bytes-xx")),
                Refusal::InvalidArgument,
            ),
            (Command::SetService(Service::new(here, "nosuch")), Refusal::UnknownScheduler),
            (Command::SetService(Service::new(nowhere, "rr")), Refusal::NoSuchService),
            (Command::DeleteService(nowhere), Refusal::NoSuchService),
            (Command::ZeroService(nowhere), Refusal::NoSuchService),
            (Command::NewDestination(here, place.clone()), Refusal::AlreadyExists),
            (Command::NewDestination(nowhere, place.clone()), Refusal::NoSuchService),
            (Command::NewDestination(here, heavy), Refusal::InvalidArgument),
            (Command::NewDestination(here, upside_down), Refusal::InvalidArgument),
            (Command::NewDestination(here, no_port), Refusal::InvalidArgument),
            (Command::NewDestination(here, mixed), Refusal::InvalidArgument),
            (Command::SetDestination(here, other.clone()), Refusal::NoSuchDestination),
            (Command::SetDestination(nowhere, place.clone()), Refusal::NoSuchService),
            (Command::DeleteDestination(here, other.key()), Refusal::NoSuchDestination),
            (Command::DeleteDestination(nowhere, place.key()), Refusal::NoSuchService),
        ] {
            let what = command.to_string();
            let error = client.run(command).unwrap_err();
            assert_eq!(error.refusal(), Some(expected), "{error}");
            assert!(error.to_string().starts_with(&what), "{error}");
        }
        assert_eq!(
            saved(),
            ["-A -t 10.96.0.1:80 -s rr", "-a -t 10.96.0.1:80 -r 192.0.2.10:8080 -m -w 1"]
        );
    });
}

#[test]
fn a_refused_command_does_not_stop_its_neighbours() {
    in_namespace(|mut client| {
        let key = tcp("10.96.0.1", 80);
        let place = |last: u8| Destination::new(IpAddr::from([192, 0, 2, last]), 80);
        let results = client
            .apply(&[
                Command::DeleteService(key),
                Command::NewService(Service::new(key, "rr")),
                Command::NewService(Service::new(key, "r\0r")), // not sent
                Command::NewDestination(key, place(10)),
                Command::NewDestination(key, place(10)),
                Command::NewDestination(key, place(11)),
            ])
            .unwrap();
        let refusals: Vec<_> =
            results.iter().map(|result| result.as_ref().map_err(Error::refusal).err()).collect();
        assert_eq!(
            refusals,
            [
                Some(Some(Refusal::NoSuchService)),
                None,
                Some(None),
                None,
                Some(Some(Refusal::AlreadyExists)),
                None,
            ]
        );
        assert!(matches!(results[2], Err(Error::Encode { .. })));
        assert_eq!(saved().len(), 3);
    });
}

#[test]
fn without_a_local_routing_table_every_destination_is_invalid() {
    in_bare_namespace(|| {
        let mut client = Client::open().unwrap();
        let key = tcp("10.96.0.1", 80);
        client.new_service(Service::new(key, "rr")).unwrap();
        let place = Destination::new(ip("192.0.2.10"), 80);
        let refused = client.new_destination(key, place.clone());
        assert_eq!(refusal(refused), Refusal::InvalidArgument);
        shell("ip link set lo up");
        client.new_destination(key, place).unwrap();
    });
}

/// Root of a user namespace owns its network namespace. Most kernels refuse to change IPVS there, and some
/// may allow it. Both must give a clear result.
#[test]
fn a_user_namespace_gives_permission_or_a_refusal() {
    const INSIDE: &str = "IPVS_NETLINK_TEST_INSIDE";
    if env::var_os(INSIDE).is_some() {
        let mut client = Client::open().unwrap();
        for result in [client.flush(), client.services().map(drop)] {
            assert!(result.is_ok() || refusal(result) == Refusal::NotPermitted);
        }
        return;
    }
    let test = "refusals::a_user_namespace_gives_permission_or_a_refusal";
    let status = Process::new("unshare")
        .args(["-r", "-n"])
        .arg(env::current_exe().unwrap())
        .args(["--exact", "--nocapture", test])
        .env(INSIDE, "1")
        .status()
        .unwrap();
    assert!(status.success());
}
