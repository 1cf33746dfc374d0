//! How much of the process a request may hold: bytes of its address and body, and time.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Version, header};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;

use super::describe::{Endpoint, Pace};
use super::error::{ApiError, ErrorCode, Result};
use super::settings::ServeSettings;

/// The most bytes of a path with its query.
const ADDRESS_BYTES_MAX: usize = 8 * 1024;

/// Checks what the head of a request says of its size, before anything else is done for it.
///
/// # Errors
///
/// 400 for an address that is too long, 413 for a body that would be.
pub fn check_head(parts: &Parts, endpoint: &Endpoint, settings: &ServeSettings) -> Result<()> {
    let address = parts.uri.path_and_query().map_or(0, |text| text.as_str().len());
    if address > ADDRESS_BYTES_MAX {
        let message = format!("the address has {address} bytes; at most {ADDRESS_BYTES_MAX} are read");
        return Err(ApiError::new(ErrorCode::BadRequest, message));
    }
    match (endpoint.pace, said_length(&parts.headers)) {
        (Pace::Usual, Some(bytes)) if bytes > settings.body_bytes_max as u64 => Err(too_large(settings.body_bytes_max)),
        (Pace::Usual | Pace::Streams, _) => Ok(()),
    }
}

/// Whether nothing that follows a request on its connection may be believed. A proxy that takes a length from
/// `Content-Length` where `Transfer-Encoding` is given, too, sees the end of the body elsewhere than we do, and what it takes
/// for the rest of one caller's body would be another request here. Of the two headers one may be gone by now, so that
/// each body without a length is the last on its connection; HTTP/2 has no such bodies.
pub fn ends_its_connection(parts: &Parts) -> bool {
    parts.version <= Version::HTTP_11 && parts.headers.contains_key(header::TRANSFER_ENCODING)
}

fn said_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn too_large(most: usize) -> ApiError {
    ApiError::new(ErrorCode::TooLarge, format!("the body is longer than {most} bytes"))
        .hint("many jobs go to /api/v1/jobs/many as a stream; large inputs into a file or an object store")
}

/// Runs a handler for as long as its endpoint may take.
pub async fn in_time(pace: Pace, patience: Duration, answer: impl Future<Output = Response>) -> Response {
    match pace {
        Pace::Streams => answer.await,
        Pace::Usual => tokio::time::timeout(patience, answer).await.unwrap_or_else(|_| {
            let message = format!("nothing was answered within {}", gristmill_core::duration::format(patience));
            let cause = Some("a handler took too long and was dropped".into());
            ApiError { cause, ..ApiError::new(ErrorCode::TimedOut, message) }.into_response()
        }),
    }
}

/// Reads a whole body of at most `most` bytes, none of whose pieces may take longer than `stall`.
///
/// # Errors
///
/// 413, 408, or 400 when it is cut off.
pub async fn whole(body: Body, most: usize, stall: Duration) -> Result<Bytes> {
    let (mut stream, mut read) = (body.into_data_stream(), Vec::new());
    while let Some(piece) = piece(&mut stream, stall).await? {
        if read.len() + piece.len() > most {
            return Err(too_large(most));
        }
        read.extend_from_slice(&piece);
    }
    Ok(Bytes::from(read))
}

/// The next piece of a body; `None` at its end.
///
/// # Errors
///
/// 408 when it does not come in time, 400 when the body is cut off.
pub async fn piece(stream: &mut axum::body::BodyDataStream, stall: Duration) -> Result<Option<Bytes>> {
    match tokio::time::timeout(stall, stream.next()).await {
        Err(_) => {
            let message = format!("nothing of the body came within {}", gristmill_core::duration::format(stall));
            Err(ApiError::new(ErrorCode::TimedOut, message))
        }
        Ok(None) => Ok(None),
        Ok(Some(Ok(piece))) => Ok(Some(piece)),
        Ok(Some(Err(_))) => Err(ApiError::new(ErrorCode::BadRequest, "the body was cut off")),
    }
}
