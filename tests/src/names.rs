//! A name server that knows one name, whatever it is asked for: the addresses behind it come and go, as those
//! of containers do.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::UdpSocket;
use tokio::task::JoinSet;

/// Bytes of a message's header (RFC 1035, section 4.1.1).
const HEADER: usize = 12;

/// The type and class of an IPv4 address, as in a question and in an answer.
const ADDRESS: [u8; 4] = [0, 1, 0, 1];

/// A name server. Dropped, it ends.
#[derive(Debug)]
pub struct Names {
    /// Where it is asked.
    pub address: SocketAddr,
    known: Arc<Mutex<Vec<Ipv4Addr>>>,
    _answering: JoinSet<()>,
}

impl Names {
    /// Starts one that knows these addresses.
    ///
    /// # Panics
    /// When it cannot listen.
    pub async fn start(addresses: &[Ipv4Addr]) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
        let address = socket.local_addr().expect("it is bound");
        let known = Arc::new(Mutex::new(addresses.to_vec()));
        let mut answering = JoinSet::new();
        answering.spawn(answer_all(socket, Arc::clone(&known)));
        Self {
            address,
            known,
            _answering: answering,
        }
    }

    /// From now on, these are the addresses behind the name.
    pub fn set(&self, addresses: &[Ipv4Addr]) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = addresses.to_vec();
    }
}

async fn answer_all(socket: UdpSocket, known: Arc<Mutex<Vec<Ipv4Addr>>>) {
    let mut message = [0; 1500];
    while let Ok((length, client)) = socket.recv_from(&mut message).await {
        let addresses = known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(answer) = answer(&message[..length], &addresses) {
            // Whoever gets none asks again.
            let _ = socket.send_to(&answer, client).await;
        }
    }
}

/// The answer to a message with one question; `None` if it is no such message.
fn answer(message: &[u8], addresses: &[Ipv4Addr]) -> Option<Vec<u8>> {
    let question = message.get(HEADER..)?;
    let mut end = 0;
    while let length @ 1.. = *question.get(end)? {
        end += 1 + usize::from(length);
    }
    let question = question.get(..=end + ADDRESS.len())?;
    let addresses = match question.ends_with(&ADDRESS) {
        true => addresses,
        false => &[],
    };
    let count = u16::try_from(addresses.len()).ok()?.to_be_bytes();
    let mut answer = message[..2].to_vec();
    // It is an answer, without an error; one question, so many answers, and nothing more.
    answer.extend([0x81, 0x80, 0, 1]);
    answer.extend(count);
    answer.extend([0; 4]);
    answer.extend(question);
    for address in addresses {
        // The name in the question, which may be remembered for a second; four bytes.
        answer.extend([0xc0, HEADER as u8]);
        answer.extend(ADDRESS);
        answer.extend([0, 0, 0, 1, 0, 4]);
        answer.extend(address.octets());
    }
    Some(answer)
}
