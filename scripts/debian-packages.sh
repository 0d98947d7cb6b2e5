# Functions for fetching packages of other Debian releases, to be sourced by other scripts.
#
# Packages come from the mirror that this machine uses for Debian. The package lists are in $work, a temporary
# folder of the script. apt verifies packages with debian-archive-keyring. Nothing is installed. The script must
# define a function `fail`, which prints a message and exits. $settings may contain further settings for apt.

mkdir "$work/archives" "$work/empty"

keyring=$(ls /usr/share/keyrings/debian-archive-keyring.* 2>/dev/null | head -n 1)
[ -n "$keyring" ] || fail "no keyring for Debian's packages: install debian-archive-keyring"
release=$(. /etc/os-release && echo "$VERSION_CODENAME")
# The mirror of the release itself. Its name tells it from those of updates and security fixes.
# shellcheck disable=SC2016 # apt's variables
mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' |
    awk -v release="$release" '($2 == release || $2 ~ /^(old)?stable$/) && $3 == "main" { print $1; exit }')
[ -n "$mirror" ] || fail "apt has no source for $release main: compare with apt-get indextargets"

# Runs a command with the package lists NAME: with_lists NAME COMMAND...
with_lists() {
    lists=$work/$1
    shift
    APT_CONFIG=$lists/apt.conf timeout 300 "$@"
}

# Downloads the package lists of these suites: make_lists NAME SUITE...
make_lists() {
    name=$1
    lists=$work/$1
    shift
    mkdir -p "$lists/lists/partial" "$lists/cache/archives/partial"
    # No package is installed there, so that apt names every library.
    : >"$lists/status"
    # Only the machine's network settings are used. Its hooks would run for these lists, too.
    apt-config dump | grep '^Acquire::' >"$lists/apt.conf" || return
    cat >>"$lists/apt.conf" <<END
Dir::Etc::main "/dev/null";
Dir::Etc::parts "/dev/null";
Dir::State "$lists";
Dir::State::status "$lists/status";
Dir::State::lists "$lists/lists";
Dir::Cache "$lists/cache";
Dir::Etc::sourcelist "$lists/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
Acquire::Languages "none";
APT::Sandbox::User "root";
APT::Update::Error-Mode "any";
${settings-}
END
    for suite in "$@"; do
        echo "deb [signed-by=$keyring] $mirror $suite main"
    done >"$lists/sources.list"
    with_lists "$name" apt-get -qq update
}

# Prints a package and the libraries that it needs, with their versions: needed LISTS SUITE PACKAGE
needed() {
    with_lists "$1" apt-get -s --no-install-recommends install "$3/$2" >"$work/plan" || return
    awk -v package="$3" '$1 == "Inst" && ($2 == package || $2 ~ /^(lib|zlib1g)/) { print $2 "=" substr($3, 2) }' \
        "$work/plan"
}

# Fetches a package and its libraries, and unpacks them into a folder in $work: unpack NAME LISTS SUITE PACKAGE
unpack() {
    folder=$work/$1
    packages=$(needed "$2" "$3" "$4") || return
    # In an empty folder, because apt leaves out archives that are in the current one.
    # shellcheck disable=SC2086 # a list of names
    (cd "$work/empty" && with_lists "$2" apt-get -qq --print-uris download $packages >"$work/uris") || return
    # One folder for all packages, so that shared libraries are fetched once.
    # shellcheck disable=SC2086
    (cd "$work/archives" && with_lists "$2" apt-get -qq download $packages) || return

    mkdir -p "$folder/etc" "$folder/dev" "$folder/proc" "$folder/tmp" || return
    for link in bin sbin lib lib64; do
        mkdir -p "$folder/usr/$link" && ln -s "usr/$link" "$folder/$link" || return
    done
    for archive in $(awk '{ print $2 }' "$work/uris"); do
        dpkg-deb --fsys-tarfile "$work/archives/$archive" |
            tar -x --keep-directory-symlink -C "$folder" --exclude='./usr/share/doc' --exclude='./usr/share/man' \
                --exclude='./usr/share/locale' || return
    done
}
