//! Uploaded blobs: encrypted media, as the real server keeps them.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

/// Every direct path of the real server carries a query: clients append their own to it with `&`.
const QUERY: &str = "ccb=11-4";
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
        format!("/v/{id}?{QUERY}")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_is_found_by_its_direct_path_and_whatever_a_client_appends_to_it() {
        let mut store = MediaStore::default();
        let path = store.put(Bytes::from_static(b"blob"));
        let appended = format!("{path}&hash=x&mms-type=document");
        for path in [&path, &appended] {
            let url = format!("https://127.0.0.1:8788{path}");
            // What a router makes of it: the rest is the query.
            let (before, _) = url.split_once('?').unwrap();
            assert_eq!(store.get(before).as_deref(), Some(&b"blob"[..]), "{url}");
            assert_eq!(store.get(&url).as_deref(), Some(&b"blob"[..]), "{url}");
        }
    }
}
