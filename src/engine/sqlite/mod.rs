//! Stand-in until the SQLite engine lands.
use crate::engine::memory::MemorySite;
pub(crate) const DEADLINE_DEFAULT: Option<std::time::Duration> = None;
pub(crate) type SqliteSite = MemorySite;
impl MemorySite {
    pub(crate) fn of_root(_: &std::path::Path) -> crate::Result<Self> {
        Ok(Self::default())
    }
}
