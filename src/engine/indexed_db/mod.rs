//! Stand-in until the IndexedDB engine lands.
use crate::engine::memory::MemorySite;
pub(crate) const DEADLINE_DEFAULT: Option<std::time::Duration> =
    Some(std::time::Duration::from_millis(crate::limits::BROWSER_DEADLINE_MS));
pub(crate) type IndexedDbSite = MemorySite;
impl MemorySite {
    pub(crate) fn of_root(_: &std::path::Path) -> crate::Result<Self> {
        Ok(Self::default())
    }
}
