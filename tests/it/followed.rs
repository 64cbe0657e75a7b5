//! Tests a configuration file that changes while it is followed.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use ipvs_proxy::config::FileWatcher;
use tokio::time::timeout;

/// Long enough for a busy machine.
const LIMIT: Duration = Duration::from_secs(20);
/// Longer than a notice takes.
const SHORT: Duration = Duration::from_millis(800);

async fn notices(followed: &mut FileWatcher, change: impl FnOnce()) {
    assert!(timeout(SHORT, followed.changed()).await.is_err(), "nothing has happened yet");
    change();
    timeout(LIMIT, followed.changed()).await.expect("the change is noticed");
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).expect("it is written");
}

#[tokio::test]
async fn a_file_written_in_place_or_replaced_is_noticed_and_a_reading_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.conf");
    write(&file, "a");
    let mut followed = FileWatcher::new(vec![file.clone()]).unwrap();
    notices(&mut followed, || write(&file, "b")).await;
    notices(&mut followed, || {
        write(&folder.path().join("new"), "c");
        fs::rename(folder.path().join("new"), &file).unwrap();
    })
    .await;
    notices(&mut followed, || fs::remove_file(&file).unwrap()).await;
    notices(&mut followed, || write(&file, "d")).await;
    assert_eq!(fs::read_to_string(&file).unwrap(), "d");
    assert!(timeout(SHORT, followed.changed()).await.is_err());
}

/// The test updates a ConfigMap's volume as kubelet does.
#[tokio::test]
async fn the_swap_of_a_configmaps_link_is_noticed_every_time() {
    let volume = tempfile::tempdir().unwrap();
    let path = |name: &str| volume.path().join(name);
    let lay = |turn: &str| {
        fs::create_dir(path(turn)).unwrap();
        write(&path(turn).join("config.conf"), turn);
        symlink(turn, path("..data_tmp")).unwrap();
        fs::rename(path("..data_tmp"), path("..data")).unwrap();
    };
    lay("..2026_1");
    symlink("..data/config.conf", path("config.conf")).unwrap();
    let mut followed = FileWatcher::new(vec![path("config.conf")]).unwrap();
    for (old, new) in [("..2026_1", "..2026_2"), ("..2026_2", "..2026_3")] {
        notices(&mut followed, || {
            lay(new);
            fs::remove_dir_all(path(old)).unwrap();
        })
        .await;
        assert_eq!(fs::read_to_string(path("config.conf")).unwrap(), new);
    }
}

#[tokio::test]
async fn a_file_behind_a_link_is_followed_where_it_is() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (link, file) = (here.path().join("config"), there.path().join("real"));
    write(&file, "a");
    symlink(&file, &link).unwrap();
    let mut followed = FileWatcher::new(vec![link]).unwrap();
    notices(&mut followed, || write(&file, "b")).await;
}

/// The test writes as to a file that is mounted: the file's own folder gets no notice.
#[tokio::test]
async fn a_file_that_is_written_to_by_another_name_is_noticed_every_time() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (file, other) = (here.path().join("config"), there.path().join("other"));
    write(&file, "a");
    fs::hard_link(&file, &other).unwrap();
    let mut followed = FileWatcher::new(vec![file]).unwrap();
    for text in ["b", "c"] {
        notices(&mut followed, || write(&other, text)).await;
    }
}

#[tokio::test]
async fn a_link_on_the_way_of_a_link_is_followed() {
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name);
    for name in ["a", "b", "b/v1", "b/v2"] {
        fs::create_dir(path(name)).unwrap();
    }
    for version in ["v1", "v2"] {
        write(&path("b").join(version).join("config"), version);
    }
    symlink("v1", path("b/current")).unwrap();
    symlink("../b/current/config", path("a/config")).unwrap();
    let mut followed = FileWatcher::new(vec![path("a/config")]).unwrap();
    notices(&mut followed, || {
        symlink("v2", path("b/new")).unwrap();
        fs::rename(path("b/new"), path("b/current")).unwrap();
    })
    .await;
    assert_eq!(fs::read_to_string(path("a/config")).unwrap(), "v2");
    notices(&mut followed, || write(&path("b/v2/config"), "v3")).await;
}

/// A link to itself leads nowhere, but it may be corrected later.
#[tokio::test]
async fn a_link_that_leads_in_a_circle_is_followed_too() {
    let place = tempfile::tempdir().unwrap();
    let (link, file) = (place.path().join("config"), place.path().join("file"));
    write(&file, "a");
    symlink("config", &link).unwrap();
    let mut followed = FileWatcher::new(vec![link.clone()]).unwrap();
    notices(&mut followed, || {
        fs::remove_file(&link).unwrap();
        symlink("file", &link).unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_folder_that_is_replaced_is_followed_where_it_is_now() {
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name);
    for name in ["one", "two"] {
        fs::create_dir(path(name)).unwrap();
        write(&path(name).join("config.conf"), name);
    }
    symlink("one", path("way")).unwrap();
    let files = vec![path("one").join("config.conf"), path("way").join("config.conf")];
    let mut followed = FileWatcher::new(files).unwrap();
    notices(&mut followed, || {
        symlink("two", path("new")).unwrap();
        fs::rename(path("new"), path("way")).unwrap();
    })
    .await;
    notices(&mut followed, || write(&path("two").join("config.conf"), "more")).await;
    notices(&mut followed, || {
        fs::rename(path("one"), path("old")).unwrap();
        fs::create_dir(path("one")).unwrap();
        write(&path("one").join("config.conf"), "new");
    })
    .await;
    notices(&mut followed, || write(&path("one").join("config.conf"), "newer")).await;
}

#[tokio::test]
async fn without_a_file_nothing_is_ever_noticed() {
    let mut followed = FileWatcher::new(Vec::new()).unwrap();
    assert!(timeout(SHORT, followed.changed()).await.is_err());
}
