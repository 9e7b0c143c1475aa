package swift

import "strings"

// unknownType is the type of what has no telling name.
const unknownType = "application/octet-stream"

// guessType guesses an object's type from its name, as Swift does: from a fixed table, so that all proxies guess alike whatever files their machine has.
func guessType(name string) string {
	base := name[strings.LastIndexByte(name, '/')+1:]
	dot := strings.LastIndexByte(base, '.')
	if dot < 1 {
		return unknownType
	}
	ext := strings.ToLower(base[dot+1:])
	if ext == "tgz" {
		return "application/x-tar"
	}
	if packed(ext) { // what is packed keeps the type of what is inside, as Python's mimetypes has it
		base = base[:dot]
		if dot = strings.LastIndexByte(base, '.'); dot < 1 {
			return unknownType
		}
		ext = strings.ToLower(base[dot+1:])
	}
	if t := typeOf(ext); t != "" {
		return t
	}
	return unknownType
}

func packed(ext string) bool {
	switch ext {
	case "gz", "z", "bz2", "xz", "br":
		return true
	}
	return false
}

// typeTable lists the types, each with its extensions.
const typeTable = `
application/javascript js mjs
application/json json
application/manifest+json webmanifest
application/msword doc dot wiz
application/n-quads nq
application/n-triples nt
application/octet-stream a bin dll exe o obj so
application/oda oda
application/pdf pdf
application/pkcs7-mime p7c
application/postscript ai eps ps
application/rtf rtf
application/trig trig
application/vnd.apple.mpegurl m3u m3u8
application/vnd.ms-excel xlb xls
application/vnd.ms-powerpoint pot ppa pps ppt pwz
application/vnd.oasis.opendocument.presentation odp
application/vnd.oasis.opendocument.spreadsheet ods
application/vnd.oasis.opendocument.text odt
application/vnd.openxmlformats-officedocument.presentationml.presentation pptx
application/vnd.openxmlformats-officedocument.spreadsheetml.sheet xlsx
application/vnd.openxmlformats-officedocument.wordprocessingml.document docx
application/wasm wasm
application/x-7z-compressed 7z
application/x-bcpio bcpio
application/x-cpio cpio
application/x-csh csh
application/x-debian-package deb
application/x-dvi dvi
application/x-gtar gtar
application/x-hdf hdf
application/x-hdf5 h5
application/x-latex latex
application/x-mif mif
application/x-netcdf cdf nc
application/x-pkcs12 p12 pfx
application/x-python-code pyc pyo
application/x-rar-compressed rar
application/x-redhat-package-manager rpm
application/x-sh sh
application/x-shar shar
application/x-shockwave-flash swf
application/x-sqlite3 sqlite
application/x-sv4cpio sv4cpio
application/x-sv4crc sv4crc
application/x-tar tar
application/x-tcl tcl
application/x-tex tex
application/x-texinfo texi texinfo
application/x-troff roff t tr
application/x-troff-man man
application/x-troff-me me
application/x-troff-ms ms
application/x-ustar ustar
application/x-wais-source src
application/xml rdf wsdl xpdl xsl
application/yaml yaml yml
application/zip zip
audio/3gpp 3gp
audio/aac aac adts loas ass
audio/basic au snd
audio/flac flac
audio/mp4 m4a
audio/mpeg mp2 mp3
audio/ogg oga ogg
audio/opus opus
audio/x-aiff aif aifc aiff
audio/x-pn-realaudio ra
audio/x-wav wav
font/otf otf
font/ttf ttf
font/woff woff
font/woff2 woff2
image/avif avif
image/bmp bmp
image/gif gif
image/heic heic
image/heif heif
image/ief ief
image/jpeg jpe jpeg jpg
image/png png
image/svg+xml svg
image/tiff tif tiff
image/vnd.microsoft.icon ico
image/webp webp
image/x-cmu-raster ras
image/x-portable-anymap pnm
image/x-portable-bitmap pbm
image/x-portable-graymap pgm
image/x-portable-pixmap ppm
image/x-rgb rgb
image/x-xbitmap xbm
image/x-xpixmap xpm
image/x-xwindowdump xwd
message/rfc822 eml mht mhtml nws
text/css css
text/csv csv
text/html htm html
text/markdown markdown md
text/plain bat c conf h ksh log pl srt text txt
text/richtext rtx
text/tab-separated-values tsv
text/vtt vtt
text/x-python py
text/x-setext etx
text/x-sgml sgm sgml
text/x-vcard vcf
text/xml xml
video/mp4 m4v mp4
video/mpeg m1v mpa mpe mpeg mpg
video/ogg ogv
video/quicktime mov qt
video/webm webm
video/x-matroska mkv
video/x-msvideo avi
video/x-sgi-movie movie
`

// types is typeTable by extension. It is filled once, and only read from then on.
var types = func() map[string]string {
	m := make(map[string]string)
	for line := range strings.Lines(typeTable) {
		words := strings.Fields(line)
		for i := 1; i < len(words); i++ {
			m[words[i]] = words[0]
		}
	}
	return m
}()

func typeOf(ext string) string { return types[ext] }
