//! The docs' links lead somewhere.

use std::fs;
use std::path::{Path, PathBuf};

/// Markdown files of a folder and those below it, but for what is built or hidden.
fn pages(folder: &Path, pages: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name())).unwrap();
        let name = name.to_string_lossy();
        if path.is_dir() && !name.starts_with('.') && !["target", "runs", "venv"].contains(&&*name) {
            self::pages(&path, pages);
        } else if name.ends_with(".md") {
            pages.push(path);
        }
    }
}

/// What stands between `](` and `)`, without the place in the page; links to other hosts are left out.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let links = text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link);
    links.map(|link| link.split('#').next().unwrap_or_default()).filter(|link| !link.is_empty() && !link.contains(':'))
}

#[test]
fn links_lead_to_files() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let (mut all, mut count) = (Vec::new(), 0);
    pages(&root, &mut all);
    for page in &all {
        let text = fs::read_to_string(page).unwrap();
        for link in links(&text) {
            let to = page.parent().unwrap().join(link);
            assert!(to.exists(), "{}: {link} leads nowhere", page.display());
            count += 1;
        }
    }
    assert!(all.len() > 10 && count > 50, "{} pages, {count} links", all.len());
}
