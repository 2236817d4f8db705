//! Path templates: `/admin/v1/grants/{id}/approve`. One form for the routers and for the description of the interface.

/// The id in `path`, or an empty text where the template has no place for one; `None` if the path is another.
pub(super) fn fits<'p>(template: &str, path: &'p str) -> Option<&'p str> {
    let (mut given, mut id) = (path.split('/'), "");
    for step in template.split('/') {
        let step_given = given.next()?;
        if step == "{id}" && !step_given.is_empty() {
            id = step_given;
        } else if step != step_given {
            return None;
        }
    }
    given.next().is_none().then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_fits_whole_paths_with_an_id_in_its_place() {
        assert_eq!(fits("/v1/grants/{id}/end", "/v1/grants/BG1/end"), Some("BG1"));
        assert_eq!(fits("/v1/grants", "/v1/grants"), Some(""));
        for other in ["/v1/grants//end", "/v1/grants/BG1", "/v1/grants/BG1/end/", "/v1/grants/BG1/ended", ""] {
            assert_eq!(fits("/v1/grants/{id}/end", other), None, "{other}");
        }
    }
}
