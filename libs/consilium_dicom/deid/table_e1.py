"""Table E.1-1 of PS3.15: which attribute gets which action. Data only; ``rules`` reads it.

A group's key is the action of the basic profile (D dummy, Z empty or dummy, X remove, U another UID; compound codes as they stand
there) and, after a blank, the option columns: ``dates`` (K with full dates, C with modified ones), ``device`` K, ``patient`` K or C,
``institution`` K, ``uids`` K, ``descriptors`` C, ``structured`` C, ``graphics`` C. Attributes by keyword of PS3.6. Group patterns
(50xx, 60xx, private) and what the table leaves to their VR stand in ``rules``.
"""

from __future__ import annotations

E1: dict[str, str] = {
    "Z": """
        AccessionNumber ConsultingPhysicianName ClinicalTrialProtocolName ClinicalTrialTimePointID DeviceAlternateIdentifier
        FillerOrderNumberImagingServiceRequest IssuerOfTheContainerIdentifierSequence IssuerOfTheSpecimenIdentifierSequence
        PatientBirthDate PatientName PatientID PlacerOrderNumberImagingServiceRequest ReferringPhysicianName ROIInterpreter
        RTAccessoryDeviceSlotID RTAccessoryHolderSlotID StudyID VerifyingObserverIdentificationCodeSequence""",
    "Z institution=K": "ClinicalTrialCoordinatingCenterName ClinicalTrialSiteID ClinicalTrialSiteName",
    "Z device=K": "ManufacturerDeviceIdentifier",
    "Z patient=K": "PatientSex",
    "Z dates": "StudyDate StudyTime StructureSetDate",
    "Z structured=C": "SpecimenPreparationSequence",
    "Z descriptors=C": """
        ConceptualVolumeCombinationDescription ConceptualVolumeDescription FractionationNotes PrescriptionNotes
        PrescriptionNotesSequence RadiationGenerationModeDescription ReasonForSuperseding ROIName RTPhysicianIntentNarrative
        TreatmentTechniqueNotes""",
    "X": """
        ActualHumanPerformersSequence AddressTrial AdmissionID Arbitrary AuthorObserverSequence BranchOfService CameraOwnerName
        ClinicalTrialProtocolEthicsCommitteeApprovalNumber ClinicalTrialSeriesID ConfidentialityConstraintOnPatientDataDescription
        ConsultingPhysicianIdentificationSequence ContainerComponentID ContentCreatorIdentificationCodeSequence
        CountryOfResidence CurrentObserverTrial CurrentPatientLocation CustodialOrganizationSequence DataSetTrailingPadding
        DigitalSignaturesSequence DistributionAddress DistributionName GPSAltitude GPSAltitudeRef GPSAreaInformation
        GPSDestBearing GPSDestBearingRef GPSDestDistance GPSDestDistanceRef GPSDestLatitude GPSDestLatitudeRef GPSDestLongitude
        GPSDestLongitudeRef GPSDifferential GPSDOP GPSImgDirection GPSImgDirectionRef GPSLatitude GPSLatitudeRef GPSLongitude
        GPSLongitudeRef GPSMapDatum GPSMeasureMode GPSProcessingMethod GPSSatellites GPSSpeed GPSSpeedRef GPSStatus GPSTimeStamp
        GPSTrack GPSTrackRef GPSVersionID HumanPerformerName HumanPerformerOrganization IconImageSequence
        ImagePresentationComments InstanceOriginStatus InsurancePlanIdentification
        IntendedRecipientsOfResultsIdentificationSequence InterpretationApproverSequence InterpretationAuthor
        InterpretationIDIssuer InterpretationRecorder InterpretationTranscriber IssuerOfAdmissionID IssuerOfAdmissionIDSequence
        IssuerOfPatientID IssuerOfServiceEpisodeID IssuerOfServiceEpisodeIDSequence MAC MedicalRecordLocator MilitaryRank
        ModifiedAttributesSequence ModifiedImageDescription ModifyingDeviceID NameOfPhysiciansReadingStudy
        NamesOfIntendedRecipientsOfResults NonconformingModifiedAttributesSequence NonconformingDataElementValue
        OrderCallbackPhoneNumber OrderCallbackTelecomInformation OrderEnteredBy OrderEntererLocation OriginalAttributesSequence
        OtherPatientIDs OtherPatientIDsSequence OtherPatientNames ParticipantSequence PatientAddress PatientBirthName
        PatientBirthTime PatientInstitutionResidence PatientInsurancePlanCodeSequence PatientMotherBirthName
        PatientPrimaryLanguageCodeSequence PatientPrimaryLanguageModifierCodeSequence PatientReligiousPreference
        PatientTelecomInformation PatientTelephoneNumbers PatientTransportArrangements PerformedLocation
        PerformedProcedureStepID PerformingPhysicianName PerformingPhysicianIdentificationSequence PersonAddress
        PersonTelecomInformation PersonTelephoneNumbers PhysiciansOfRecord PhysiciansOfRecordIdentificationSequence
        PhysiciansReadingStudyIdentificationSequence PhysicianApprovingInterpretation ReferencedDigitalSignatureSequence
        ReferencedPatientAliasSequence ReferencedPatientPhotoSequence ReferencedPatientSequence
        ReferencedSOPInstanceMACSequence ReferringPhysicianAddress ReferringPhysicianTelephoneNumbers
        ReferringPhysicianIdentificationSequence RegionOfResidence RequestedProcedureID RequestedProcedureLocation
        RequestingPhysician RequestingService ResponsibleOrganization ResponsiblePerson ResultsDistributionListSequence
        ResultsIDIssuer ScheduledHumanPerformersSequence ScheduledPatientInstitutionResidence ScheduledPerformingPhysicianName
        ScheduledPerformingPhysicianIdentificationSequence ScheduledProcedureStepID ServiceEpisodeID SlideIdentifier
        SpecimenAccessionNumber StudyIDIssuer TelephoneNumberTrial TextComments TextString TopicAuthor TopicKeywords
        TopicSubject TopicTitle VerbalSourceTrial VerbalSourceIdentifierCodeSequenceTrial""",
    "X uids=K": "AffectedSOPInstanceUID",
    "X patient=K": "EthnicGroup PatientAge PatientSize PatientWeight PregnancyStatus SmokingStatus",
    "X patient=C": "PreMedication SpecialNeeds",
    "X patient=C descriptors=C": "Allergies PatientState",
    "X institution=K": "InstitutionAddress InstitutionalDepartmentName InstitutionalDepartmentTypeCodeSequence",
    "X device=K": """
        CassetteID DeviceDescription GantryID GeneratorID LensMake LensModel LensSerialNumber LensSpecification
        PerformedStationAETitle PerformedStationGeographicLocationCodeSequence PerformedStationName
        PerformedStationNameCodeSequence PlateID ScheduledProcedureStepLocation ScheduledStationAETitle
        ScheduledStationGeographicLocationCodeSequence ScheduledStationName ScheduledStationNameCodeSequence
        ScheduledStudyLocation ScheduledStudyLocationAETitle SourceManufacturer TransducerIdentificationSequence
        TreatmentMachineName UDISequence UniqueDeviceIdentifier XRayDetectorLabel""",
    "X dates": """
        AdmittingDate AdmittingTime CurveDate CurveTime ExpectedCompletionDateTime GPSDateStamp InstanceCoercionDateTime
        LastMenstrualDate ObservationDateTrial ObservationTimeTrial OverlayDate OverlayTime PerformedProcedureStepEndDate
        PerformedProcedureStepEndDateTime PerformedProcedureStepEndTime PerformedProcedureStepStartDate
        PerformedProcedureStepStartDateTime PerformedProcedureStepStartTime ProcedureStepCancellationDateTime
        ScheduledProcedureStepEndDate ScheduledProcedureStepEndTime ScheduledProcedureStepExpirationDateTime
        ScheduledProcedureStepModificationDateTime ScheduledProcedureStepStartDate ScheduledProcedureStepStartDateTime
        ScheduledProcedureStepStartTime TimezoneOffsetFromUTC""",
    "X descriptors=C": """
        AcquisitionComments AcquisitionProtocolDescription AdditionalPatientHistory AdmittingDiagnosesCodeSequence
        AdmittingDiagnosesDescription BeamDescription BolusDescription ClinicalTrialSeriesDescription
        ClinicalTrialTimePointDescription CommentsOnRadiationDose CommentsOnThePerformedProcedureStep CompensatorDescription
        ContainerDescription ContributionDescription DecompositionDescription DerivationDescription DeviceSettingDescription
        DischargeDiagnosisDescription DoseReferenceDescription EntityDescription EntityName
        EquipmentFrameOfReferenceDescription FixationDeviceDescription FractionGroupDescription FrameComments
        IdentifyingComments ImageComments ImagingServiceRequestComments Impressions InterpretationDiagnosisDescription
        InterpretationText LongDeviceDescription MakerNote MedicalAlerts MultienergyAcquisitionDescription Occupation
        PatientComments PerformedProcedureStepDescription PrescriptionDescription PriorTreatmentDoseDescription
        ReasonForOmissionDescription ReasonForRequestedProcedureCodeSequence ReasonForStudy ReasonForTheImagingServiceRequest
        ReasonForTheRequestedProcedure ReasonForVisit ReasonForVisitCodeSequence RequestAttributesSequence
        RequestedContrastAgent RequestedProcedureComments RequestedSeriesDescription
        RespiratoryMotionCompensationTechniqueDescription ResultsComments ROIDescription ROIGenerationDescription
        ROIObservationDescription ROIObservationLabel RTPlanDescription RTPlanName ScheduledProcedureStepDescription
        SeriesDescription ServiceEpisodeDescription SetupTechniqueDescription ShieldingDeviceDescription
        SpecimenDetailedDescription SpecimenShortDescription StructureSetDescription StructureSetName StudyComments
        StudyDescription VisitComments""",
    "X/Z": "BarcodeValue ReviewerName",
    "X/Z patient=K": "PatientSexNeutered",
    "X/Z device=K": "SourceSerialNumber",
    "X/Z uids=K": "ReferencedStudySequence",
    "X/Z dates": "AcquisitionDate AcquisitionTime",
    "X/Z structured=C": "AcquisitionContextSequence",
    "X/Z descriptors=C": "LabelText RequestedProcedureDescription",
    "X/D": "OperatorIdentificationSequence",
    "X/D device=K": "DetectorID",
    "X/D dates": """
        EndAcquisitionDateTime FirstTreatmentDate IntendedPhaseEndDate IntendedPhaseStartDate MostRecentTreatmentDate RTPlanDate
        RTPlanTime SeriesDate SeriesTime StartAcquisitionDateTime StructureSetTime TreatmentDate TreatmentTime""",
    "X/D descriptors=C": "AcquisitionDeviceProcessingDescription ProtocolName RTTreatmentApproachLabel",
    "X/Z/D": "OperatorsName",
    "X/Z/D dates": "AcquisitionDateTime",
    "X/Z/D device=K": "DeviceSerialNumber StationName",
    "X/Z/D institution=K": "InstitutionCodeSequence InstitutionName",
    "X/Z/D uids=K": "ReferencedPerformedProcedureStepSequence",
    "X/Z/U* uids=K": "ReferencedImageSequence SourceImageSequence",
    "Z/D": "ContentCreatorName",
    "Z/D dates": "ContentDate ContentTime",
    "Z/D descriptors=C": "ContrastBolusAgent",
    "D": """
        ClinicalTrialProtocolID ClinicalTrialSponsorName ClinicalTrialSubjectID ClinicalTrialSubjectReadingID
        ContainerIdentifier FlowIdentifier FlowIdentifierSequence PersonIdentificationCodeSequence PersonName SourceIdentifier
        SpecimenIdentifier VerifyingObserverName VerifyingObserverSequence VerifyingOrganization""",
    "D institution=K": "ClinicalTrialProtocolEthicsCommitteeName",
    "D device=K": "DeviceLabel XRayDetectorID XRaySourceID",
    "D dates": """
        FrameOriginTimestamp ImpedanceMeasurementDateTime InterlockDateTime OverrideDateTime RecordedRTControlPointDateTime
        SourceEndDateTime SourceStartDateTime TreatmentToleranceViolationDateTime""",
    "D structured=C": "ContentSequence",
    "D graphics=C": "GraphicAnnotationSequence",
    "D descriptors=C": """
        AcquisitionFieldOfViewLabel EntityLabel EntityLongLabel InterlockDescription InterlockOriginDescription
        RadiationDoseIdentificationLabel RadiationDoseInVivoMeasurementLabel RadiationGenerationModeLabel RTPlanLabel
        RTPrescriptionLabel RTToleranceSetLabel StructureSetLabel TreatmentPositionGroupLabel TreatmentSite
        TreatmentToleranceViolationDescription UserContentLabel UserContentLongLabel""",
    "U": "DigitalSignatureUID UID",
    "U uids=K": """
        ConcatenationUID ConceptualVolumeUID ConstituentConceptualVolumeUID DimensionOrganizationUID DoseReferenceUID
        DosimetricObjectiveUID FailedSOPInstanceUIDList FiducialUID FrameOfReferenceUID InstanceCreatorUID IrradiationEventUID
        LargePaletteColorLookupTableUID MediaStorageSOPInstanceUID MultiplexGroupUID ObservationSubjectUIDTrial ObservationUID
        PaletteColorLookupTableUID PatientSetupUID PresentationDisplayCollectionUID PresentationSequenceCollectionUID
        ReferencedConceptualVolumeUID ReferencedDoseReferenceUID ReferencedDosimetricObjectiveUID ReferencedFiducialsUID
        ReferencedFrameOfReferenceUID ReferencedGeneralPurposeScheduledProcedureStepTransactionUID
        ReferencedObservationUIDTrial ReferencedSOPInstanceUID ReferencedSOPInstanceUIDInFile RelatedFrameOfReferenceUID
        RequestedSOPInstanceUID RTTreatmentPhaseUID SeriesInstanceUID SOPInstanceUID SourceConceptualVolumeUID SpecimenUID
        StorageMediaFileSetUID StudyInstanceUID SynchronizationFrameOfReferenceUID TargetUID TemplateExtensionCreatorUID
        TemplateExtensionOrganizationUID TrackingUID TransactionUID TreatmentPositionGroupUID TreatmentSessionUID""",
    "U uids=K device=K": "DeviceUID ManufacturerDeviceClassUID",
}

BEYOND: dict[str, str] = {
    "D": "EncapsulatedDocument",
    "X": """
        IssuerOfAccessionNumberSequence IssuerOfPatientIDQualifiersSequence
        IssuerOfClinicalTrialProtocolID IssuerOfClinicalTrialSiteID IssuerOfClinicalTrialSubjectID
        IssuerOfClinicalTrialSubjectReadingID IssuerOfClinicalTrialTimePointID IssuerOfClinicalTrialSeriesID
        AlternateContainerIdentifierSequence OrderPlacerIdentifierSequence OrderFillerIdentifierSequence LocalNamespaceEntityID
        UniversalEntityID RequestingPhysicianIdentificationSequence OwnerID PrintJobID HL7InstanceIdentifier
        HL7DocumentEffectiveTime NTPSourceAddress AssignedLocation EncryptedAttributesSequence ReferencedVisitSequence
        VisitStatusID RouteOfAdmissions
        InterpretationID ResultsID PatientTreatmentPreparationSequence StorageMediaFileSetID ReportNumber
        ReasonForPerformedProcedureCodeSequence BoardingPassID""",
    "X device=K": "DeviceID SecondaryCaptureDeviceID HardcopyCreationDeviceID GridID DetectorDescription",
    "X patient=K": "PatientBodyMassIndex MeasuredAPDimension MeasuredLateralDimension PatientSizeCodeSequence",
    "X descriptors=C": """
        CommentsOnTheScheduledProcedureStep InterventionDescription FrameOfInterestDescription RTImageDescription
        SegmentDescription AcquisitionContextDescription SurfaceComments PixelSpacingCalibrationDescription
        PartialViewDescription StrainDescription PatientSpeciesDescription PatientBreedDescription DoseComment
        TreatmentStatusComment SetupDeviceDescription SourceDescription ApplicatorDescription SystemStatusComment
        CalculationComment TestResultComment CommentsOnPatientPerformanceOfVisualField DataSetDescription""",
    "X/Z descriptors=C": "DocumentTitle ContentDescription",
}
"""Attributes that this edition of the table does not name and that hold identities all the same: treated in its spirit."""
