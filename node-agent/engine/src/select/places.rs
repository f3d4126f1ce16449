//! Single places that a plan selects beside its entries' patterns: links on the way, and what lies behind links.
//!
//! Pure. A tree by components: what a name costs does not grow with the number of links that lead elsewhere, which
//! whoever may write where links are followed decides.

use super::Live;
use crate::path::HostPath;

/// The places of a plan.
#[derive(Debug)]
pub(crate) struct Places {
    /// The host's `/` first.
    nodes: Vec<Node>,
}

#[derive(Debug, Default)]
struct Node {
    /// By name.
    children: Vec<(Box<[u8]>, usize)>,
    here: Vec<Live>,
    /// The entries that select here or below; sorted.
    entries: Vec<u16>,
}

/// A directory that leads to places.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    node: usize,
    /// Whether the mounts on the way are entered by entries that say `mounts: All`,
    pub(super) enters_all: bool,
    /// and by others.
    pub(super) enters_local: bool,
}

impl Default for Places {
    fn default() -> Self {
        Self { nodes: vec![Node::default()] }
    }
}

impl Places {
    /// Adds a selector that begins at a place.
    pub(super) fn add(&mut self, place: &HostPath, entry: u16, live: Live) {
        let mut node = 0;
        self.nodes[node].enter(entry);
        for name in place.components() {
            node = match self.nodes[node].find(name) {
                Ok(child) => child,
                Err(at) => {
                    let child = self.nodes.len();
                    self.nodes.push(Node::default());
                    self.nodes[node].children.insert(at, (name.into(), child));
                    child
                }
            };
            self.nodes[node].enter(entry);
        }
        self.nodes[node].here.push(live);
    }

    /// The host's `/`.
    pub(super) fn root(&self) -> Way {
        Way { node: 0, enters_all: true, enters_local: true }
    }

    /// A directory one name further down, if it is a place or leads to one.
    pub(super) fn child(&self, way: Way, name: &[u8]) -> Option<Way> {
        let node = self.nodes[way.node].find(name).ok()?;
        Some(Way { node, ..way })
    }

    /// What begins at a place.
    pub(super) fn here(&self, way: Way) -> &[Live] {
        &self.nodes[way.node].here
    }

    /// What begins at the place of this path.
    pub(super) fn at(&self, path: &HostPath) -> &[Live] {
        let mut components = path.components();
        components.try_fold(self.root(), |way, name| self.child(way, name)).map_or(&[], |way| self.here(way))
    }

    /// The entries that select below a directory.
    pub(super) fn entries_below(&self, way: Way) -> impl Iterator<Item = u16> + '_ {
        let node = &self.nodes[way.node];
        node.entries.iter().copied().filter(|_| !node.children.is_empty())
    }

    /// The names in a directory, each with the entries that select it or what lies below it.
    pub(super) fn names(&self, way: Way) -> impl Iterator<Item = (&[u8], &[u16])> {
        let children = self.nodes[way.node].children.iter();
        children.map(|(name, node)| (&**name, self.nodes[*node].entries.as_slice()))
    }

    /// Whether any place lies below.
    pub(super) fn leads_on(&self, way: Way) -> bool {
        !self.nodes[way.node].children.is_empty()
    }
}

impl Node {
    fn find(&self, name: &[u8]) -> Result<usize, usize> {
        let found = self.children.binary_search_by(|(child, _)| (**child).cmp(name));
        found.map(|at| self.children[at].1)
    }

    fn enter(&mut self, entry: u16) {
        if let Err(at) = self.entries.binary_search(&entry) {
            self.entries.insert(at, entry);
        }
    }
}
