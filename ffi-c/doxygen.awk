# Shows Doxygen what readers of the files see.

# In the README, links to the examples.
FILENAME ~ /\.md$/ {
    gsub(/\]\(examples\//, "](https://github.com/aukilabs/posemesh-node-registration/blob/main/ffi-c/examples/")
    print
    next
}

# In a header, the text at its top, and its sections as groups.
NR == 1 {
    print "/** @file"
    next
}
/^\/\/ -+$/ {
    getline title
    getline
    name = tolower(substr(title, 4))
    gsub(/[^a-z]+/, "_", name)
    printf "%s/// @defgroup %s %s\n/// @{\n", open ? "/// @}\n" : "", name, substr(title, 4)
    open = 1
    next
}
/^#ifdef __cplusplus$/ && open {
    print "/// @}"
}
{ print }
