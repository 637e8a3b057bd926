//! What the manifest allows is there, and nothing else is reachable.

use std::fs;

use host::Program;

use crate::server::{Host, Redis, Settings};

#[tokio::test]
async fn the_manifest_s_variables_and_files_are_there() {
    let host = Host::start(Settings::default()).await;
    assert_eq!(
        host.text("/variable?name=greeting").await,
        "value hello none"
    );
    assert_eq!(
        host.text("/read?path=/config/inside.txt").await,
        "content inside"
    );
}

#[tokio::test]
async fn other_variables_and_the_environment_are_not() {
    let host = Host::start(Settings::default()).await;
    // Declared by the application, but not given to the component.
    let secret = host.text("/variable?name=secret").await;
    assert!(secret.starts_with("error Error::Undefined"), "{secret}");
    let invalid = host.text("/variable?name=PATH").await;
    assert!(invalid.starts_with("error Error::InvalidName"), "{invalid}");
    // This process has an environment: cargo's.
    assert_eq!(host.text("/environment").await, "");
}

#[tokio::test]
async fn a_file_outside_cannot_be_read() {
    let host = Host::start(Settings::default()).await;
    let folder = host.folder.path();
    let outside = folder.join("outside.txt");
    std::os::unix::fs::symlink(&outside, folder.join("config/link.txt")).unwrap();
    std::os::unix::fs::symlink(folder, folder.join("config/up")).unwrap();
    let outside = outside.display().to_string();
    for path in [
        "/config/../outside.txt",
        "/config/link.txt",
        "/config/up/outside.txt",
        "/outside.txt",
        "outside.txt",
        "/etc/hostname",
        "/proc/self/environ",
        &outside,
    ] {
        let read = host.text(&format!("/read?path={path}")).await;
        assert!(read.starts_with("error "), "{path}: {read}");
    }
}

#[tokio::test]
async fn a_file_inside_cannot_be_changed() {
    let host = Host::start(Settings::default()).await;
    let inside = host.folder.path().join("config/inside.txt");
    for path in [
        "/write?path=/config/inside.txt",
        "/write?path=/config/new.txt",
        "/remove?path=/config/inside.txt",
    ] {
        let done = host.text(path).await;
        assert!(done.starts_with("error "), "{path}: {done}");
    }
    assert_eq!(fs::read_to_string(&inside).unwrap(), "inside");
    assert_eq!(fs::read_dir(inside.parent().unwrap()).unwrap().count(), 1);
}

#[tokio::test]
async fn another_redis_address_is_refused() {
    let (allowed, other) = (Redis::start().await, Redis::start().await);
    let host = Host::with(&allowed).await;
    let open = async |url: &str| host.text(&format!("/redis?do=open&url={url}")).await;

    assert_eq!(open(&allowed.url).await, "open");
    assert_eq!(open(&format!("{}/3", allowed.url)).await, "open");

    let same_port = allowed.url.replace("127.0.0.1", "localhost");
    let seen: u64 = connections(&other).await;
    for url in [
        &other.url,
        &same_port,
        "unix:///run/redis.sock",
        "nonsense",
        "",
    ] {
        assert_eq!(open(url).await, "error Error::InvalidAddress", "{url}");
    }
    // Only the one connection that asks this question.
    assert_eq!(connections(&other).await, seen + 1);
}

/// How many connections a Redis has had.
async fn connections(redis: &Redis) -> u64 {
    let stats: String = redis.run("INFO stats").await;
    let received = stats
        .lines()
        .find_map(|line| line.strip_prefix("total_connections_received:"));
    received.unwrap().trim().parse().unwrap()
}

/// The binary form of `(component (import INTERFACE (instance (export FUNCTION (func)))))`.
fn component_importing(interface: &str, function: &str) -> Vec<u8> {
    let sized = |bytes: &[u8]| [&[u8::try_from(bytes.len()).unwrap()], bytes].concat();
    let function = sized(function.as_bytes());
    // One type: an instance (0x42) of 2 declarations, a function's type without parameters and
    // results, and the export of such a function.
    let declarations = [
        &[1, 0x42, 2, 1, 0x40, 0, 1, 0, 4, 0],
        &function[..],
        &[1, 0],
    ]
    .concat();
    // One import: an instance (5) of that type.
    let import = [&[1, 0], &sized(interface.as_bytes())[..], &[5, 0]].concat();
    let header: &[u8] = b"\0asm\x0d\0\x01\0";
    let (types, imports) = (sized(&declarations), sized(&import));
    [header, &[7], &types, &[10], &imports].concat()
}

#[test]
fn a_component_that_imports_more_is_not_run() {
    for (interface, function) in [
        ("wasi:sockets/tcp-create-socket@0.2.0", "create-tcp-socket"),
        ("wasi:sockets/types@0.3.0", "x"),
        ("wasi:http/outgoing-handler@0.2.0", "handle"),
        ("wasi:http/client@0.3.0", "send"),
        ("spin:key-value/key-value@3.0.0", "x"),
        ("fermyon:spin/redis@2.0.0", "x"),
    ] {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), component_importing(interface, function)).unwrap();
        let Err(error) = Program::compile(file.path(), None) else {
            panic!("{interface} is there");
        };
        let text = error.to_string();
        assert!(text.contains(interface), "{interface}: {text}");
        assert!(!text.contains('\n'), "one line: {text}");
    }
}
