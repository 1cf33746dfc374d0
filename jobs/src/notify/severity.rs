//! How much a notification matters.

use gristmill_core::words;

words! {
    /// How much it matters.
    #[derive(PartialOrd, Ord)]
    pub enum Severity {
        /// What was wrong is well again: it ends what the same key has begun.
        Ok = "ok",
        /// Good to know.
        Info = "info",
        /// A person should look, in their own time.
        Warning = "warning",
        /// A person must look now.
        Critical = "critical",
    }
}
