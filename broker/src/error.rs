//! What can go wrong between this process and the broker.

/// Why the broker refused or failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BrokerError {
    /// It cannot be reached at present; the supervisor keeps trying.
    #[error("the broker cannot be reached: {0}")]
    Unavailable(String),
    /// It refused the login.
    #[error(
        "the broker refused the login of `{user}` to virtual host `{vhost}`: {reason}; check the user, the password and the permissions in [broker] url"
    )]
    Login {
        /// The user.
        user: String,
        /// The virtual host.
        vhost: String,
        /// What the broker said.
        reason: String,
    },
    /// A queue or exchange exists with other arguments.
    #[error(
        "`{name}` exists on the broker with other arguments: {reason}; delete it there, or use another virtual host"
    )]
    Topology {
        /// Its name.
        name: String,
        /// What the broker said.
        reason: String,
    },
    /// The address makes no sense.
    #[error("{0}")]
    Invalid(String),
}
