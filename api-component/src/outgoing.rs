//! The last step: from our answer to WASI's, whose body is a stream.

use std::rc::Rc;

use futures::future::join;
use spin_sdk::wasip3::http::types::{ErrorCode, Fields, Response, Trailers};
use spin_sdk::wasip3::wit_bindgen::{FutureWriter, StreamWriter};
use spin_sdk::wasip3::{spawn, wit_future, wit_stream};

use crate::reply::{Body, Reply, Rest};

/// A body that the instance keeps is sent in copies of this size: larger ones take more memory with
/// many clients, and smaller ones more time.
const PIECE: usize = 96 << 10;

/// How a body ended; an error makes the host break the connection off.
type Ending = Result<Option<Trailers>, ErrorCode>;

/// Hands an answer to the host. Its body is written after that, by a task beside the request's.
///
/// # Errors
/// When the host refuses a field of its head.
pub(crate) fn send(reply: Reply) -> Result<Response, ErrorCode> {
    let fields = Fields::from_list(&reply.fields)
        .map_err(|error| ErrorCode::InternalError(Some(error.to_string())))?;
    let response = match reply.body {
        Body::Empty => {
            // A writer that is dropped writes its default.
            let (_, ending) = wit_future::new(|| Ok(None));
            Response::new(fields, None, ending).0
        }
        Body::Whole(bytes) => {
            let (ended, ending) = wit_future::new(broken_off);
            let (writer, contents) = wit_stream::new();
            spawn(write(bytes, writer, ended));
            Response::new(fields, Some(contents), ending).0
        }
        Body::Streamed { first, rest } => {
            let (ended, ending) = wit_future::new(broken_off);
            let (writer, contents) = wit_stream::new();
            spawn(stream(first, rest, writer, ended));
            Response::new(fields, Some(contents), ending).0
        }
    };
    response
        .set_status_code(reply.status)
        .map_err(|()| ErrorCode::InternalError(Some("no status code".to_owned())))?;
    Ok(response)
}

async fn write(bytes: Rc<Vec<u8>>, mut writer: StreamWriter<u8>, ended: FutureWriter<Ending>) {
    for piece in bytes.chunks(PIECE) {
        // The host takes the bytes out of a buffer of their own.
        if !writer.write_all(piece.to_vec()).await.is_empty() {
            // The client has gone: nobody waits for an ending.
            return;
        }
    }
    drop(writer);
    let _ = ended.write(Ok(None)).await;
}

/// Writes piece after piece, and reads the next one while the last is written. When one cannot be
/// had, the body ends with an error, so that nobody takes the part for the whole.
async fn stream(
    mut piece: Vec<u8>,
    mut rest: Rest,
    mut writer: StreamWriter<u8>,
    ended: FutureWriter<Ending>,
) {
    loop {
        let (unwritten, next) = join(writer.write_all(piece), rest.next()).await;
        if !unwritten.is_empty() {
            return;
        }
        match next {
            Some(Ok(next)) => piece = next,
            Some(Err(error)) => {
                eprintln!("an answer was broken off: {error}");
                return;
            }
            None => break,
        }
    }
    drop(writer);
    let _ = ended.write(Ok(None)).await;
}

fn broken_off() -> Ending {
    Err(ErrorCode::InternalError(Some("broken off".to_owned())))
}
