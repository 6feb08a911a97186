//! Cursor paging: a page is asked for with one item more than it has, which tells whether another one follows.

/// Cuts a page to its size. The cursor of the next page, when there is one: that of the page's last item.
pub fn cut<T, C>(items: &mut Vec<T>, limit: u32, cursor: impl FnOnce(&T) -> C) -> Option<C> {
    let limit = limit as usize;
    let more = items.len() > limit;
    items.truncate(limit);
    items.last().filter(|_| more).map(cursor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_page_that_another_one_follows_has_a_cursor() {
        for (items, left, next) in
            [(vec![], vec![], None), (vec![1, 2], vec![1, 2], None), (vec![1, 2, 3], vec![1, 2], Some(2))]
        {
            let mut page = items;
            assert_eq!(cut(&mut page, 2, |last| *last), next);
            assert_eq!(page, left);
        }
    }
}
