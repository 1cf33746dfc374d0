//! A look at the broker from outside: nothing is declared, and no connection is kept.

use std::time::Duration;

use super::address::Address;
use super::topology::{Declare, Names};
use crate::Look;
use crate::error::BrokerError;
use crate::settings::Settings;

/// How long a broker may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Connects, compares what is there, also of these queues, with what this version would declare, and disconnects.
pub(crate) async fn look(settings: &Settings, queues: &[String]) -> Result<Look, BrokerError> {
    settings.check()?;
    let (address, names) = (Address::parse(settings)?, Names::new(&settings.namespace)?);
    let compare = async {
        let connection = address.open("doctor").await?;
        let declare = Declare { connection: &connection, address: &address, names: &names };
        let prepared = declare.compare(queues).await;
        // What was found stands, whatever becomes of the farewell.
        let _ = connection.close(200, "looked".into()).await;
        prepared
    };
    let prepared = tokio::time::timeout(TIMEOUT, compare).await.unwrap_or_else(|_| {
        let seconds = TIMEOUT.as_secs();
        Err(BrokerError::Unavailable(format!("{address} did not answer within {seconds} s")))
    })?;
    Ok(Look { address: format!("{address} (names begin with `{names}.`)"), prepared })
}
