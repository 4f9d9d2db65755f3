// What a page does besides standing still. Each module does one thing, and the page works without any.
import "./actions.js";
import "./copying.js";
import "./finding.js";
import { keepUp } from "./live.js";
import { keepTime } from "./times.js";

keepTime();
keepUp();
