//! Uploaded blobs: encrypted media, as the real server keeps them.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

/// Past this the oldest blobs go.
const MAX_BYTES: usize = 512 << 20;

/// Blobs by their direct path's last segment.
#[derive(Debug, Default)]
pub(crate) struct MediaStore {
    blobs: HashMap<String, Bytes>,
    order: VecDeque<String>,
    bytes: usize,
}

impl MediaStore {
    /// Keeps a blob and returns its direct path.
    pub(crate) fn put(&mut self, blob: Bytes) -> String {
        let id = hex::encode(crate::phone::random::<12>());
        self.bytes += blob.len();
        self.order.push_back(id.clone());
        self.blobs.insert(id.clone(), blob);
        while self.bytes > MAX_BYTES
            && self.order.len() > 1
            && let Some(oldest) = self.order.pop_front()
        {
            self.bytes -= self.blobs.remove(&oldest).map_or(0, |blob| blob.len());
        }
        format!("/v/{id}")
    }

    /// A blob by its id, its direct path or its URL.
    pub(crate) fn get(&self, path: &str) -> Option<Bytes> {
        let path = path.split('?').next().unwrap_or(path);
        self.blobs.get(path.rsplit('/').next().unwrap_or(path)).cloned()
    }

    pub(crate) fn len(&self) -> usize {
        self.blobs.len()
    }
}
