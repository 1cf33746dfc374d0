//! A hook for the fault campaign: reports when a message is between its publish and its confirm. Empty without the
//! feature `failpoint-points`.

#[cfg(feature = "failpoints")]
static LISTENER: std::sync::OnceLock<fn(&str)> = std::sync::OnceLock::new();

/// Calls this function at every point from now on. The first listener stays.
pub fn listen(listener: fn(&str)) {
    #[cfg(feature = "failpoints")]
    let _ = LISTENER.set(listener);
    #[cfg(not(feature = "failpoints"))]
    let _ = listener;
}

/// Marks a point that is passed here.
#[inline]
pub(crate) fn point(name: &str) {
    #[cfg(feature = "failpoints")]
    if let Some(listener) = LISTENER.get() {
        listener(name);
    }
    #[cfg(not(feature = "failpoints"))]
    let _ = name;
}
