#!/bin/sh
# Items as JSON lines, in a POSIX shell without any other program but tr: writes each item's name in
# capitals. A shell cannot read JSON: names with quotes or backslashes in them are refused.
while IFS= read -r line; do
    item=${line#*\"item\":}
    item=${item%\}}
    before=${item%%\"name\":\"*}
    if [ "$before" = "$item" ]; then
        printf '%s\n' '{"error":"the field `name` is missing or no text","retry":false}'
        continue
    fi
    rest=${item#*\"name\":\"}
    name=${rest%%\"*}
    after=${rest#"$name"}
    case $name in
    '') printf '%s\n' '{"skip":true}' ;;
    *\\*) printf '%s\n' '{"error":"the name holds a backslash or a quote","retry":false}' ;;
    *)
        upper=$(printf '%s' "$name" | tr '[:lower:]' '[:upper:]')
        printf '{"ok":%s"name":"%s%s}\n' "$before" "$upper" "$after"
        ;;
    esac
done
