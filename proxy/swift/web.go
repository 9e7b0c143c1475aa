package swift

import (
	"errors"
	"html"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"henge/internal/errs"
	"henge/internal/limits"
	"henge/proxy/core"
)

// webRules make a container a web site for those who come without a token (Swift's staticweb).
type webRules struct {
	index    string // of each folder
	failure  string // "404" + it is shown when there is nothing
	listings bool   // folders without an index are listed
	css      string // of the listings
}

func webRulesOf(meta map[string]string) webRules {
	const prefix = "x-container-meta-web-"
	return webRules{index: strings.Trim(meta[prefix+"index"], "/"), failure: strings.Trim(meta[prefix+"error"], "/"),
		listings: isTrue(meta[prefix+"listings"]), css: meta[prefix+"listings-css"]}
}

// web answers the request as a web site would, if the container is one. It leaves objects that are there, and those who bring a token, to the API.
func (q *request) web() (handled bool, err error) {
	if !q.reads() || q.container == "" || q.grant != nil || q.r.Header.Get("X-Auth-Token") != "" && !isTrue(q.r.Header.Get("X-Web-Mode")) {
		return false, nil
	}
	info, err := q.h.Core.Container(q.r.Context(), q.account, q.container, false)
	if errs.Is(err, errs.NotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	rules := webRulesOf(info.Meta)
	if rules == (webRules{}) || q.object == "" && rules.index == "" && !rules.listings {
		return false, nil
	}
	if err := q.authorize(q.account, q.container, toRead); err != nil {
		return false, err
	}
	folder := q.object == "" || strings.HasSuffix(q.object, "/")
	switch {
	case q.object == "" && !strings.HasSuffix(q.r.URL.Path, "/"):
		return true, q.webRedirect()
	case q.object != "":
		there, err := q.isThere(q.object)
		if there || err != nil {
			return false, err
		}
	}
	if folder {
		return true, q.webFolder(rules, q.object)
	}
	if rules.index != "" {
		there, err := q.isThere(q.object + "/" + rules.index)
		if err != nil {
			return true, err
		}
		if there {
			return true, q.webRedirect()
		}
	}
	return true, q.webFailure(rules)
}

// isThere tells whether an object of the container is there.
func (q *request) isThere(name string) (bool, error) {
	o, err := q.h.Core.Open(q.r.Context(), core.Ref{Account: q.account, Container: q.container, Object: name}, core.OpenOptions{HeadOnly: true})
	if errs.Is(err, errs.NotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, o.Close()
}

// webRedirect sends the browser to the same name with a slash at the end, so that relative links hold.
func (q *request) webRedirect() error {
	q.header("Location", q.r.URL.EscapedPath()+"/")
	return q.answer(http.StatusMovedPermanently)
}

// webFolder shows a folder: its index, or else its listing.
func (q *request) webFolder(rules webRules, folder string) error {
	if rules.index != "" {
		q.object = folder + rules.index
		c, err := q.open(q.ref(), false, false)
		if err == nil {
			return errors.Join(q.serveContent(c), c.close())
		}
		if !errs.Is(err, errs.NotFound) {
			return err
		}
		q.object = folder
	}
	if !rules.listings {
		return q.webFailure(rules)
	}
	if err := q.authorize(q.account, q.container, toList); err != nil {
		return err
	}
	page, err := q.h.Core.ListObjects(q.r.Context(), q.account, q.container, core.ListOptions{Prefix: folder, Delimiter: "/", Limit: limits.ListingMax})
	if err != nil {
		return err
	}
	if len(page.Entries) == 0 && folder != "" {
		return q.webFailure(rules)
	}
	return q.answerText(http.StatusOK, "text/html; charset=UTF-8", q.webListing(rules, folder, page.Entries))
}

// webListing is the page that lists a folder.
func (q *request) webListing(rules webRules, folder string, entries []core.Entry) string {
	var b strings.Builder
	title := html.EscapeString("Listing of " + q.r.URL.Path)
	b.WriteString("<!DOCTYPE html>\n<html>\n<head>\n<title>" + title + "</title>\n")
	if rules.css != "" {
		css := rules.css
		if !strings.HasPrefix(css, "/") && !strings.Contains(css, "://") {
			css = strings.Repeat("../", strings.Count(folder, "/")) + css
		}
		b.WriteString(`<link rel="stylesheet" type="text/css" href="` + html.EscapeString(css) + "\" />\n")
	}
	b.WriteString("</head>\n<body>\n<h1 id=\"title\">" + title + "</h1>\n<table id=\"listing\">\n")
	row := func(class, name, size, date string) {
		href := "./" + (&url.URL{Path: name}).EscapedPath() // "./": a name may look like a scheme
		b.WriteString(`<tr class="item ` + class + `"><td class="colname"><a href="` + html.EscapeString(href) + `">` + html.EscapeString(name) +
			`</a></td><td class="colsize">` + size + `</td><td class="coldate">` + date + "</td></tr>\n")
	}
	if folder != "" {
		b.WriteString("<tr id=\"parent\" class=\"item\"><td class=\"colname\"><a href=\"../\">../</a></td></tr>\n")
	}
	for _, e := range entries {
		switch {
		case e.Folder != "":
			row("subdir", strings.TrimPrefix(e.Folder, folder), "", "")
		case e.Name != folder:
			row("file", strings.TrimPrefix(e.Name, folder), strconv.FormatInt(e.Size, 10), e.Timestamp.Time().Format("2006-01-02 15:04:05"))
		}
	}
	b.WriteString("</table>\n</body>\n</html>\n")
	return b.String()
}

// webFailure is 404 with the site's own page, if it has one.
func (q *request) webFailure(rules webRules) error {
	missing := status(http.StatusNotFound)
	if rules.failure == "" || q.r.Method == http.MethodHead {
		return missing
	}
	c, err := q.open(core.Ref{Account: q.account, Container: q.container, Object: strconv.Itoa(missing.code) + rules.failure}, false, false)
	if err != nil {
		return missing // whatever hinders the page, the object that was asked for is not there
	}
	q.header("Content-Type", c.ctype)
	q.header("Content-Length", strconv.FormatInt(c.size, 10))
	return errors.Join(q.sendSpan(missing.code, c, span{0, c.size}), c.close())
}
