//! Why something could not be measured.

use std::error::Error;

/// Any error; a run reports it and goes on with the next measurement.
pub type Fault = Box<dyn Error + Send + Sync>;

/// What a measurement returns.
pub type Result<T> = std::result::Result<T, Fault>;
