//! Whether a program answers.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// A local program answers at once, or it is not ready.
const LIMIT: Duration = Duration::from_secs(2);

/// Whether a Redis answers there.
pub(super) fn is_redis(address: SocketAddr) -> bool {
    answers(address, "PING\r\n", "+PONG").unwrap_or(false)
}

/// Whether `GET path` is answered there with this status; any, if it is left empty.
pub(super) fn is_http(address: SocketAddr, path: &str, status: &str) -> bool {
    // In one piece: a server that answers after the first line and closes would cut off the rest.
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    answers(address, &request, &format!("HTTP/1.1 {status}")).unwrap_or(false)
}

fn answers(address: SocketAddr, request: &str, expected: &str) -> io::Result<bool> {
    let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = vec![0; expected.len()];
    stream.read_exact(&mut answer)?;
    Ok(answer == expected.as_bytes())
}

/// Where to reach from here what listens on `address`: `0.0.0.0` is no place to go to.
pub(super) fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    #[test]
    fn only_a_200_is_ready() {
        for (answer, is_ready) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", true),
            ("HTTP/1.1 503 Service Unavailable\r\n\r\n", false),
            ("SSH-2.0-OpenSSH_9.2\r\n", false),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let server = thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                assert!(stream.read(&mut [0; 512]).unwrap() > 0);
                stream.write_all(answer.as_bytes()).unwrap();
            });
            assert_eq!(is_http(address, "/readyz", "200"), is_ready, "{answer}");
            server.join().unwrap();
            assert!(!is_http(address, "/readyz", "200"));
        }
    }

    #[test]
    fn every_address_has_a_loopback_one() {
        let reach = |text: &str| reachable(text.parse().unwrap()).to_string();
        assert_eq!(reach("0.0.0.0:9000"), "127.0.0.1:9000");
        assert_eq!(reach("[::]:9000"), "[::1]:9000");
        assert_eq!(reach("192.0.2.7:80"), "192.0.2.7:80");
    }
}
