//! Hints from the system that files may have changed, so that an edit is in force sooner than the next look.
//!
//! Nothing rests on them: events are lost, folders come and go, some file systems have none.

use super::FileSet;
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::Notify;

/// Hints from the system that something happened in a folder. Where there are none, looking often is enough.
#[derive(Default)]
pub(super) struct Hints {
    watcher: Option<RecommendedWatcher>,
    folders: BTreeSet<PathBuf>,
}

impl Hints {
    pub(super) fn new(hint: &Arc<Notify>) -> Self {
        let hint = Arc::clone(hint);
        let handler = move |event: notify::Result<notify::Event>| {
            // Looking opens folders, which is an event too: that must not lead to another look.
            let looking = matches!(
                event.as_ref().map(|e| e.kind),
                Ok(notify::EventKind::Access(kind))
                    if kind != notify::event::AccessKind::Close(notify::event::AccessMode::Write)
            );
            if !looking {
                hint.notify_one();
            }
        };
        match notify::recommended_watcher(handler) {
            Ok(watcher) => Hints {
                watcher: Some(watcher),
                folders: BTreeSet::new(),
            },
            Err(error) => {
                tracing::warn!(
                    %error,
                    "no hints from the system about changed files; they are looked at four times a second"
                );
                Hints::default()
            }
        }
    }

    /// Watches the folders in which a change may matter now.
    pub(super) fn follow(&mut self, files: &FileSet) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        let wanted = files.folders();
        for gone in self.folders.difference(&wanted) {
            // A folder that was deleted is not watched any more: nothing to undo.
            let _ = watcher.unwatch(gone);
        }
        let mut watched: BTreeSet<PathBuf> = self.folders.intersection(&wanted).cloned().collect();
        for new in wanted.difference(&self.folders) {
            // What cannot be watched is tried again at the next look, and looked at meanwhile.
            if watcher.watch(new, RecursiveMode::NonRecursive).is_ok() {
                watched.insert(new.clone());
            }
        }
        self.folders = watched;
    }
}
