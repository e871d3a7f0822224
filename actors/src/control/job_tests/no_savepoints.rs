//! Savepoints for jobs of stubs: there are none.

use std::path::Path;
use std::sync::Arc;

use crate::SavepointConfig;
use crate::contract::{SavepointExport, SavepointFileError, SavepointFormat};

struct NoSavepoints;

impl SavepointFormat for NoSavepoints {
    fn begin(&self, path: &Path) -> Result<Box<dyn SavepointExport>, SavepointFileError> {
        Err(SavepointFileError::Exists { path: path.to_owned() })
    }
}

pub(super) fn config() -> SavepointConfig {
    SavepointConfig { format: Arc::new(NoSavepoints), origin: None, descends_from: None }
}
