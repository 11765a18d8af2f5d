/** What the room shows after the live picture: loaded apart, so that the picture does not wait for it. */
export { Captures } from './Captures';
export { ChatPanel } from './ChatPanel';
export { EndDialog, RoomKeys } from './dialogs';
export { People } from './People';
export { PhoneBar } from './PhoneBar';
export { RemoteAudio } from './RemoteAudio';
export { ToolRail } from './ToolRail';
