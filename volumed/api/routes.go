package api

import "net/http"

// bind has a method and a path below version and project served.
func (s *Server) bind(method, path string, h handler) { s.bindSince(method, path, 0, h) }

func (s *Server) bindSince(method, path string, since int, h handler) {
	s.router.Handle(path, bound{h, since}).Methods(method)
}

// routes binds everything.
func (s *Server) routes() {
	s.volumeRoutes()
	s.snapshotRoutes()
	s.typeRoutes()
	s.qosRoutes()
	s.cloudRoutes()
	s.transferRoutes("/os-volume-transfer", 0)
	s.transferRoutes("/volume-transfers", sinceTransfers)
	s.bindSince(http.MethodGet, "/attachments", sinceAttachments, listAttachments)
	s.bindSince(http.MethodPost, "/attachments", sinceAttachments, createAttachment)
	s.bindSince(http.MethodGet, "/attachments/detail", sinceAttachments, listAttachmentsDetail)
	s.bindSince(http.MethodGet, "/attachments/{attachment}", sinceAttachments, showAttachment)
	s.bindSince(http.MethodPut, "/attachments/{attachment}", sinceAttachments, updateAttachment)
	s.bindSince(http.MethodDelete, "/attachments/{attachment}", sinceAttachments, deleteAttachment)
	s.bindSince(http.MethodPost, "/attachments/{attachment}/action", sinceComplete, completeAttachment)
	s.bindSince(http.MethodGet, "/messages", sinceMessages, listMessages)
	s.bindSince(http.MethodGet, "/messages/{message}", sinceMessages, showMessage)
	s.bindSince(http.MethodDelete, "/messages/{message}", sinceMessages, deleteMessage)
}

func (s *Server) volumeRoutes() {
	s.bind(http.MethodGet, "/volumes", listVolumes)
	s.bind(http.MethodPost, "/volumes", createVolume)
	s.bind(http.MethodGet, "/volumes/detail", listVolumesDetail)
	s.bindSince(http.MethodGet, "/volumes/summary", sinceSummary, summary)
	s.bind(http.MethodGet, "/volumes/{volume}", showVolume)
	s.bind(http.MethodPut, "/volumes/{volume}", updateVolume)
	s.bind(http.MethodDelete, "/volumes/{volume}", deleteVolume)
	s.bind(http.MethodPost, "/volumes/{volume}/action", volumeAction)
	s.bind(http.MethodGet, "/volumes/{volume}/encryption", encryptionShown)
	s.bind(http.MethodGet, "/volumes/{volume}/encryption/{key}", encryptionShown)
	volumeMetadata.routes(s, "/volumes/{volume}/metadata")
}

func (s *Server) snapshotRoutes() {
	s.bind(http.MethodGet, "/snapshots", listSnapshots)
	s.bind(http.MethodPost, "/snapshots", createSnapshot)
	s.bind(http.MethodGet, "/snapshots/detail", listSnapshotsDetail)
	s.bind(http.MethodGet, "/snapshots/{snapshot}", showSnapshot)
	s.bind(http.MethodPut, "/snapshots/{snapshot}", updateSnapshot)
	s.bind(http.MethodDelete, "/snapshots/{snapshot}", deleteSnapshot)
	s.bind(http.MethodPost, "/snapshots/{snapshot}/action", snapshotAction)
	snapshotMetadata.routes(s, "/snapshots/{snapshot}/metadata")
}

func (s *Server) typeRoutes() {
	s.bind(http.MethodGet, "/types", listTypes)
	s.bind(http.MethodPost, "/types", createType)
	s.bind(http.MethodGet, "/types/{type}", showType)
	s.bind(http.MethodPut, "/types/{type}", updateType)
	s.bind(http.MethodDelete, "/types/{type}", deleteType)
	s.bind(http.MethodPost, "/types/{type}/action", typeAction)
	s.bind(http.MethodGet, "/types/{type}/os-volume-type-access", listAccess)
	s.bind(http.MethodGet, "/types/{type}/encryption", noEncryption)
	s.bind(http.MethodPost, "/types/{type}/encryption", refuseEncryption)
	s.bind(http.MethodGet, "/types/{type}/extra_specs", listSpecs)
	s.bind(http.MethodPost, "/types/{type}/extra_specs", createSpecs)
	s.bind(http.MethodGet, "/types/{type}/extra_specs/{key}", showSpec)
	s.bind(http.MethodPut, "/types/{type}/extra_specs/{key}", updateSpec)
	s.bind(http.MethodDelete, "/types/{type}/extra_specs/{key}", deleteSpec)
	s.bindSince(http.MethodGet, "/default-types", sinceDefaultTypes, listDefaultTypes)
	s.bindSince(http.MethodGet, "/default-types/{target}", sinceDefaultTypes, showDefaultType)
	s.bindSince(http.MethodPut, "/default-types/{target}", sinceDefaultTypes, setDefaultType)
	s.bindSince(http.MethodDelete, "/default-types/{target}", sinceDefaultTypes, unsetDefaultType)
}

func (s *Server) qosRoutes() {
	s.bind(http.MethodGet, "/qos-specs", listQoS)
	s.bind(http.MethodPost, "/qos-specs", createQoS)
	s.bind(http.MethodGet, "/qos-specs/{qos}", showQoS)
	s.bind(http.MethodPut, "/qos-specs/{qos}", updateQoS)
	s.bind(http.MethodDelete, "/qos-specs/{qos}", deleteQoS)
	s.bind(http.MethodPut, "/qos-specs/{qos}/delete_keys", deleteQoSKeys)
	s.bind(http.MethodGet, "/qos-specs/{qos}/associations", qosAssociations)
	s.bind(http.MethodGet, "/qos-specs/{qos}/associate", associateQoS)
	s.bind(http.MethodGet, "/qos-specs/{qos}/disassociate", disassociateQoS)
	s.bind(http.MethodGet, "/qos-specs/{qos}/disassociate_all", disassociateAll)
}

func (s *Server) cloudRoutes() {
	s.bind(http.MethodGet, "/limits", showLimits)
	s.bind(http.MethodGet, "/extensions", listExtensions)
	s.bind(http.MethodGet, "/os-availability-zone", listZones)
	s.bind(http.MethodGet, "/os-services", listServices)
	s.bind(http.MethodPut, "/os-services/{action}", serviceAction)
	s.bind(http.MethodGet, "/os-hosts", listHosts)
	s.bind(http.MethodGet, "/os-hosts/{host}", showHost)
	s.bind(http.MethodGet, "/scheduler-stats/get_pools", listPools)
	s.bind(http.MethodGet, "/capabilities/{host}", showCapabilities)
	s.bind(http.MethodGet, "/os-quota-sets/{target}", showQuota)
	s.bind(http.MethodPut, "/os-quota-sets/{target}", updateQuota)
	s.bind(http.MethodDelete, "/os-quota-sets/{target}", deleteQuota)
	s.bind(http.MethodGet, "/os-quota-sets/{target}/defaults", showQuotaDefaults)
	s.bind(http.MethodGet, "/os-quota-class-sets/{class}", showQuotaClass)
	s.bind(http.MethodPut, "/os-quota-class-sets/{class}", updateQuotaClass)
	s.bindSince(http.MethodGet, "/resource_filters", sinceResourceFilters, listFilters)
}

func (s *Server) transferRoutes(path string, since int) {
	s.bindSince(http.MethodGet, path, since, listTransfers)
	s.bindSince(http.MethodPost, path, since, createTransfer)
	s.bindSince(http.MethodGet, path+"/detail", since, listTransfersDetail)
	s.bindSince(http.MethodGet, path+"/{transfer}", since, showTransfer)
	s.bindSince(http.MethodDelete, path+"/{transfer}", since, deleteTransfer)
	s.bindSince(http.MethodPost, path+"/{transfer}/accept", since, acceptTransfer)
}
