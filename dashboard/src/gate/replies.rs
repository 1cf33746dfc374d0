//! What handlers give back, as their endpoints describe it.

use utoipa::ToSchema;

use super::answer::{Creation, Outcome};
use super::describe::{Endpoint, JSON, Replies, Reply};

impl<T: ToSchema> Replies for Outcome<T> {
    fn describe(endpoint: &mut Endpoint) {
        let schema = endpoint.schema::<T>();
        endpoint.replies.push(Reply { status: 200, media: JSON, schema });
    }
}

impl<T: ToSchema> Replies for Creation<T> {
    fn describe(endpoint: &mut Endpoint) {
        for status in [200, 201] {
            let schema = endpoint.schema::<T>();
            endpoint.replies.push(Reply { status, media: JSON, schema });
        }
    }
}
