//! What comes of drawing.

/// A picture that has been drawn.
pub struct Picture {
    /// Its class; none of a model without labels.
    pub label: Option<usize>,
    /// `[H, W, C]`, rows from the top.
    pub bytes: Vec<u8>,
}
