//! A hook for the fault campaign: tells when a message is between its publish and its confirm. Empty without the
//! feature `crash-points`.

#[cfg(feature = "crash-points")]
static HEARER: std::sync::OnceLock<fn(&str)> = std::sync::OnceLock::new();

/// From now on this function is told. The first one stays.
pub fn tell(hearer: fn(&str)) {
    #[cfg(feature = "crash-points")]
    let _ = HEARER.set(hearer);
    #[cfg(not(feature = "crash-points"))]
    let _ = hearer;
}

/// A point is passed here.
#[inline]
pub(crate) fn point(name: &str) {
    #[cfg(feature = "crash-points")]
    if let Some(hearer) = HEARER.get() {
        hearer(name);
    }
    #[cfg(not(feature = "crash-points"))]
    let _ = name;
}
