//! What the Helm chart holds of this crate: reads definitions and presets as they are shipped, produces them as templates that
//! a value turns on. Never changes what they say: it adds labels and annotations of the chart's own.

use crate::definition::File;
use crate::presets::presets;

/// What Helm asks before it removes an object with a release: with a definition would go every rule, and with a rule what its
/// nodes know.
const KEEP: &str =
    "  labels:\n    app.kubernetes.io/part-of: vedette\n  annotations:\n    helm.sh/resource-policy: keep\n";

/// A template of the chart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// Its path below the chart's `templates`.
    pub path: String,
    /// Its content.
    pub text: String,
}

/// A template for each definition and each preset.
pub fn templates(definitions: &[File]) -> Vec<Template> {
    let definitions = definitions.iter().map(|file| Template {
        path: format!("crds/{}", file.name),
        text: template("if .Values.crds.enabled", "", &file.yaml),
    });
    let presets = presets().into_iter().map(|preset| {
        let head = "# As crds/presets has it: written by `cargo crdgen`.\n";
        Template {
            path: format!("presets/{}.yaml", preset.name),
            text: template(
                &format!("if has {:?} .Values.presets", preset.name),
                "{{- include \"vedette.presetsNeedTheirKind\" . }}\n",
                &format!("{head}{}", preset.yaml),
            ),
        }
    });
    definitions.chain(presets).collect()
}

fn template(condition: &str, first: &str, yaml: &str) -> String {
    let mut text = format!("{{{{- {condition} }}}}\n{first}");
    let mut is_in_metadata = false;
    for line in yaml.lines() {
        // Helm would take what begins with two braces for its own.
        text.push_str(&line.replace("{{", "{{ \"{{\" }}"));
        text.push('\n');
        if is_in_metadata && line.starts_with("  name: ") {
            text.push_str(KEEP);
        }
        is_in_metadata = line == "metadata:";
    }
    text.push_str("{{- end }}\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_kept_and_its_text_is_no_template() {
        let yaml = "kind: Rule\nmetadata:\n  name: r\nspec:\n  name: x\n  path: \"/{{a,b},c}\"\n";
        let expected = "{{- if .Values.on }}\nkind: Rule\nmetadata:\n  name: r\n  labels:\n    \
            app.kubernetes.io/part-of: vedette\n  annotations:\n    helm.sh/resource-policy: keep\nspec:\n  name: x\n  \
            path: \"/{{ \"{{\" }}a,b},c}\"\n{{- end }}\n";
        assert_eq!(template("if .Values.on", "", yaml), expected);
    }
}
